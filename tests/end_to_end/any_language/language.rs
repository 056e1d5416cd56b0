//! The languages, and how a program in one of them is run.

use std::path::PathBuf;

use tokio::process::Command;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Language {
    Python,
    TypeScript,
    Go,
}

impl Language {
    /// Where `scripts/clients` made its client ready to run.
    pub(super) fn folder(self) -> PathBuf {
        let name = match self {
            Self::Python => "python",
            Self::TypeScript => "typescript",
            Self::Go => "go",
        };
        clients().join("examples").join(name)
    }

    /// A program of its folder, by its name without ending.
    pub(super) fn program(self, name: &str) -> Command {
        let (runs, ending) = match self {
            Self::Python => (self.folder().join(".venv/bin/python"), "py"),
            Self::TypeScript => (PathBuf::from("node"), "ts"),
            Self::Go => panic!("no program of tests/clients is written in Go"),
        };
        let mut command = self.command(Command::new(runs));
        command.arg(format!("{name}.{ending}"));
        command
    }

    /// What a shell makes of these lines.
    pub(super) fn shell(self, lines: &str) -> Command {
        let mut command = self.command(Command::new("bash"));
        command.args(["-euo", "pipefail", "-c", lines]);
        command
    }

    /// In its folder, with the node that `scripts/clients` chose, and with Go set up as there.
    fn command(self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", variable("STREAMGATE_TEST_NODE_BIN"));
        let go = clients().join("go");
        let go_path = format!("{}:/usr/share/gocode", go.join("path").display());
        command.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOPATH", go_path);
        command.env("GOCACHE", go.join("cache"));
        command.current_dir(self.folder()).env("PATH", path).kill_on_drop(true);
        command
    }
}

fn clients() -> PathBuf {
    PathBuf::from(variable("STREAMGATE_TEST_CLIENTS"))
}

#[track_caller]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: say `scripts/clients` first, then `. target/clients/env`")
    })
}
