//! `dustgate man` and `dustgate completions`: what a package brings for people at a terminal. Both are made
//! of the commands themselves, so that they can't fall behind.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{FAILED, fail};

/// The files that the program knows by itself.
const FILES: [(&str, &str); 3] = [
    (
        "/etc/dustgate/dustgate.toml",
        "The settings of the packaged service. dustgate check says whether they are right.",
    ),
    ("config/dustgate.toml", "The settings where no -c names others."),
    ("/var/lib/dustgate", "What the packaged service stores."),
];
/// How `serve` ends.
const EXITS: [(&str, &str); 5] = [
    ("0", "Done; of serve: told to leave, and everything under way has ended."),
    ("1", "The command could not do its work."),
    ("2", "The settings or the arguments are wrong."),
    ("3", "Told to leave, and the grace was over before everything under way had ended."),
    ("4", "Told to leave twice."),
];

/// Prints the completions of a shell.
pub(super) fn completions(command: &mut Command, shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "dustgate", &mut script);
    print(&script)
}

/// Prints the manual page: the program, each command with its options, files and exit codes.
pub(super) fn page(command: Command) -> ExitCode {
    match written(command) {
        Ok(page) => print(&page),
        Err(error) => fail(FAILED, &error.to_string()),
    }
}

fn written(mut command: Command) -> io::Result<Vec<u8>> {
    command.build();
    let mut page = Vec::new();
    let program = Man::new(command.clone());
    program.render_title(&mut page)?;
    program.render_name_section(&mut page)?;
    program.render_synopsis_section(&mut page)?;
    program.render_description_section(&mut page)?;
    for one in command.get_subcommands() {
        let mut head = Roff::new();
        head.control("SH", [format!("dustgate {}", one.get_name()).as_str()]);
        head.text([roman(one.get_about().map(ToString::to_string).unwrap_or_default())]);
        head.to_writer(&mut page)?;
        Man::new(one.clone()).render_options_section(&mut page)?;
    }
    listed("EXIT STATUS", &EXITS).to_writer(&mut page)?;
    listed("FILES", &FILES).to_writer(&mut page)?;
    Ok(page)
}

fn listed(title: &str, lines: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (name, says) in lines {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*says)]);
    }
    roff
}

/// Prints all of it. A reader that takes only the first lines is no failure.
fn print(bytes: &[u8]) -> ExitCode {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(FAILED, &error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}
