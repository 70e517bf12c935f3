//! The hardware that can be rented: CPU instances, GPU pools and types, and data centers, with prices.
//!
//! Names and sizes are a snapshot of Runpod's public documentation (August 2026). Prices are in a separate file,
//! `prices.json`, and a project can override them under `[prices]` in `flash.toml`. The catalogue does not know what
//! is in stock.
mod capability;
mod cpu;
mod datacenter;
mod gpu;
mod price;

pub(crate) use capability::capabilities_of;
pub use capability::{ComputeCapability, ComputeCapabilityError};
pub use cpu::CpuInstance;
pub use datacenter::DataCenter;
pub use gpu::{GpuPool, GpuType};
pub use price::{NanoDollars, PriceKey, PriceList, PriceListError};

/// Declares an enum of catalogue names: `variant = "provider's id"`.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $id:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[allow(non_camel_case_types, reason = "variants are spelled as the provider spells the id")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $id, "`")] $variant,)+
        }

        impl $name {
            /// Every name, in the catalogue's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The provider's ID, as in its API.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// The entry with this ID; `None` if it is not in the catalogue. The ID is case-sensitive.
            pub fn from_id(id: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|entry| entry.id() == id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.id())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.id())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let id = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_id(&id).ok_or_else(|| {
                    serde::de::Error::custom(format!(concat!("`{}` is not a known ", stringify!($name)), id))
                })
            }
        }
    };
}
use names;

#[cfg(test)]
mod tests;
