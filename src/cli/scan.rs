//! stub
/// x
#[derive(argh::FromArgs, Debug)]
#[argh(subcommand, name = "scan")]
pub struct ScanArguments {}
/// x
pub fn run(_: &ScanArguments) -> Result<(), super::Failure> {
    Ok(())
}
