//! The reference: each stage a plain axum service that calls the next one with reqwest.
//!
//! Written as one would for production: connections are kept and reused, nothing is delayed to be sent in
//! larger pieces, and the runtime takes all cores. It has no queue, no retries, no scaling and no logs.
mod service;

use std::process::ExitCode;

use service::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stage = match arguments.as_slice() {
        ["preprocess", next] => Stage::Preprocess { next: (*next).to_owned() },
        ["infer", next] => Stage::Infer { next: (*next).to_owned() },
        ["postprocess"] => Stage::Postprocess,
        ["noop"] => Stage::Noop,
        _ => {
            return failed(
                "usage: bench-handwritten preprocess NEXT_URL | infer NEXT_URL | postprocess | noop",
            );
        }
    };
    match service::serve(stage).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "the program's only message")]
fn failed(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}
