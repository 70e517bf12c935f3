//! Settings are `key = value`, with commas between them, and values of one kind.
use flash_sdk::{Result, remote};

#[remote(cpu = Cpu3c_1_2 workers = 3)]
async fn without_a_comma(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote("cpu", cpu = Cpu3c_1_2)]
async fn without_a_key(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(worker = pool, cpu = Cpu3c_1_2)]
async fn name_without_quotes(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(gpu_count = 2)]
async fn only_a_count(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, files = ["*.gguf"])]
async fn files_of_no_model(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, model = "org/name", files = [])]
async fn no_files(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, example = 7)]
async fn example_without_quotes(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2, quantum_flux = 7)]
async fn like_no_setting(id: u32) -> Result<u32> {
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2)]
async fn a_function_with_a_name_that_is_longer_than_sixty_three_characters(id: u32) -> Result<u32> {
    Ok(id)
}

fn main() {}
