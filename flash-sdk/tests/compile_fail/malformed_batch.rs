//! The settings of a batch, and the method that prepares its items.
use flash_sdk::{Result, remote};

pub struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    #[batch(max = 8, max = 9)]
    pub fn twice(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max)]
    pub fn without_a_value(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, flash::max = 9)]
    pub fn with_a_path(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, padded = true)]
    pub fn padded_with_a_value(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, prepare = "tokenize")]
    pub fn prepared_by_a_text(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, prepare = Self::without_self)]
    pub fn prepared_without_self(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, prepare = Self::public)]
    pub fn prepared_in_public(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    #[batch(max = 8, prepare = Self::without_result)]
    pub fn prepared_to_nothing(&self, items: Vec<u32>) -> Vec<Result<u32>> {
        items.into_iter().map(Ok).collect()
    }

    fn without_self(item: u32) -> u32 {
        item
    }

    pub fn public(&self, item: u32) -> Result<u32> {
        Ok(item)
    }

    fn without_result(&self, item: u32) {
        drop(item);
    }
}

fn main() {}
