//! The binary: hands its arguments to the command line.

use std::process::ExitCode;

/// Requests make and drop many small pieces of memory on all threads, which the system's allocator
/// is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    streamgate::cli::main(std::env::args_os())
}
