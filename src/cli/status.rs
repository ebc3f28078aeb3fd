//! stub
use argh::FromArgs;
/// x
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub struct StatusArguments {
    /// d
    #[argh(positional)]
    pub directory: std::path::PathBuf,
    /// j
    #[argh(switch)]
    pub json: bool,
}
/// x
pub fn run(a: &StatusArguments) -> Result<(), super::Failure> {
    println!("{}", crate::io::control::ask(&a.directory, "status").map_err(super::Failure::failed)?);
    Ok(())
}
