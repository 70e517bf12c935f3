//! Webhooks: one signed POST at the end of each job that asks for it, with retries.
//!
//! The queue decides which job calls which URL. A delivery is signed according to the Standard Webhooks specification
//! (<https://www.standardwebhooks.com>), so that receivers can verify it with a library. A slow or unreachable receiver
//! only delays its own deliveries ([`receiver_queues`](self)). [`AllowedNetworks`] decides which addresses are allowed,
//! after names are resolved.
mod allowed_networks;
mod post;
mod receiver_queues;
mod secret;
mod sender;

pub use allowed_networks::AllowedNetworks;
pub use secret::Secret;
pub(crate) use sender::WebhookSender;
