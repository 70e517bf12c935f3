//! A job is no HTTP request.
use flash_sdk::{
    Bytes, Multipart, Reply, Result, TypedHeader,
    headers::UserAgent,
    http::{HeaderMap, Request, Response},
    remote,
};

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

#[remote(worker = "job")]
async fn parts(agent: TypedHeader<UserAgent>, form: Multipart, all: Request<Bytes>) -> Result<Response<Bytes>> {
    todo!()
}

#[remote(worker = "web", method = POST, path = "/two/{id}")]
async fn two_bodies(id: u32, form: Multipart, name: String, all: Request<Bytes>) -> Result<()> {
    todo!()
}

#[remote(worker = "web", method = GET, path = "/form/{agent}")]
async fn form_of_get(form: Multipart, agent: TypedHeader<UserAgent>) -> Result<()> {
    todo!()
}

fn main() {}
