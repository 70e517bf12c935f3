//! A form is the whole body.
use flash_sdk::{Multipart, Result, remote};

#[remote(cpu = Cpu3c_1_2, method = POST, path = "/upload")]
async fn upload(form: Multipart, name: String) -> Result<()> {
    drop((form, name));
    Ok(())
}

fn main() {}
