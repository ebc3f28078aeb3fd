//! stub
/// x
#[derive(argh::FromArgs, Debug)]
#[argh(subcommand, name = "demo")]
pub struct DemoArguments {}
/// x
pub fn run(_: &DemoArguments) -> Result<(), super::Failure> {
    Ok(())
}
