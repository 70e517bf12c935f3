//! Nothing that is called from outside has parameters of types, and `&self` is plain.
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

#[remote(cpu = Cpu3c_1_2)]
async fn with_a_clause(id: u32) -> Result<u32>
where
    u32: Clone,
{
    Ok(id)
}

#[remote(cpu = Cpu3c_1_2)]
fn result_of_a_stream() -> Result<impl Stream<Item = Result<u32>>> {
    Ok(stream::iter([Ok(1)]))
}

#[remote(cpu = Cpu3c_1_2)]
async fn borrowed(id: &u32) -> Result<u32> {
    Ok(*id)
}

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn work<'a>(&'a self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
