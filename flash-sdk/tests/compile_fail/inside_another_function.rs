//! What stands beside a function is a module, which cannot see into a function's body.
fn main() {
    use flash_sdk::{Result, remote};

    #[remote(cpu = Cpu3c_1_2)]
    async fn work(id: u32) -> Result<u32> {
        Ok(id)
    }
}
