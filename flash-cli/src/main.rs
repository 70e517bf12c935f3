//! `flash`: run, build and deploy serverless workers written in Rust.

fn main() -> std::process::ExitCode {
    flash_cli::main()
}
