//! What can be rented: CPU instances, GPU pools and types, data centers, and what each costs.
//!
//! Owns the names and their facts. The names and sizes are a snapshot of Runpod's public documentation
//! (August 2026); prices are kept apart in `prices.json`, the one file to change when they move, and a
//! project overrides them under `[prices]` in `flash.toml`. What is in stock is not known here.
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

            /// The provider's id, as its API spells it.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }

            /// The entry with this id. Case matters; `None` for an id that the catalogue does not hold.
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
