//! What a batch cannot be.
use flash_sdk::{Result, remote};

pub struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[batch(padded)]
    pub fn without_maximum(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 0, budget = 8)]
    pub fn without_cost(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, size = 3)]
    pub fn one_item(&self, item: u32) -> Result<u32> {
        Ok(item)
    }

    #[batch(max = 8)]
    pub fn one_result(&self, items: Vec<u32>) -> Result<Vec<u32>> {
        Ok(items)
    }

    #[batch(max = 8, prepare = Self::absent)]
    pub fn unprepared(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8)]
    fn private(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }
}

fn main() {}
