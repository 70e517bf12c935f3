//! A job is no HTTP request.
use flash_sdk::{Reply, Result, http::HeaderMap, remote};

#[remote(cpu = Cpu3c_1_2)]
async fn job(headers: HeaderMap) -> Result<Reply<usize>> {
    Ok(Reply::new(headers.len()))
}

#[remote(worker = "job", replay = 16)]
async fn no_route() -> Result<()> {
    Ok(())
}

#[remote(worker = "web", cpu = Cpu3c_1_2, method = GET, path = "/one", replay = 16)]
async fn one_answer() -> Result<()> {
    Ok(())
}

fn main() {}
