//! The program: see the library's documentation.

use dustgate::heap::Heap;

#[global_allocator]
static HEAP: Heap = Heap;

fn main() -> std::process::ExitCode {
    dustgate::cli::main()
}
