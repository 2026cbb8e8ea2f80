//! The program: see the library's documentation.

use mimalloc::MiMalloc;

/// Misses make and drop many blocks of all lengths; Cargo.toml says what this saves of them.
#[global_allocator]
static HEAP: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    dustgate::cli::main()
}
