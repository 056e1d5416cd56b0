//! `completions`: the script that teaches a shell the commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;

#[derive(Args)]
pub(crate) struct Arguments {
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Made in memory first: the generator would panic on a reader that leaves early.
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "streamgate", &mut script);
    let mut output = Output::stdout();
    output.bytes(&script)?;
    output.flush()
}
