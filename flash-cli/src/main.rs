//! `flash`: run, build and deploy serverless workers written in Rust.
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    flash_cli::main()
}
