//! A job is no HTTP request.
use flash_sdk::{Reply, Result, http::HeaderMap, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn job(headers: HeaderMap) -> Result<Reply<usize>> {
    Ok(Reply::new(headers.len()))
}

fn main() {}
