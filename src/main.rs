//! The program: see the library's documentation.

fn main() -> std::process::ExitCode {
    dustgate::cli::main()
}
