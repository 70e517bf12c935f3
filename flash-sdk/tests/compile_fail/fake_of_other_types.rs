//! A fake takes and returns what its function does.
use flash_sdk::{Result, remote, testing::fake};

#[remote(cpu = Cpu3c_1_2)]
async fn length(text: String) -> Result<usize> {
    Ok(text.len())
}

#[remote(worker = "length")]
async fn sum(left: u32, right: u32) -> Result<u32> {
    Ok(left + right)
}

fn fakes() {
    fake(length, |number: u32| async move { Ok(1) });
    fake(length, |text| async move { Ok(text) });
    fake(length, |text| text.len());
    fake(sum, |left, right| async move { Ok(1) });
    fake("length", |text: String| async move { Ok(1) });
}

fn main() {}
