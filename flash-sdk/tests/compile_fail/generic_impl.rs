//! A worker is built for known types.
use flash_sdk::remote;

struct Model<T>(T);

#[remote(cpu = Cpu3c_1_2)]
impl<T> Model<T> {
    #[init]
    fn load(value: T) -> Self {
        Self(value)
    }
}

fn main() {}
