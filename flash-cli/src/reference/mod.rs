//! The reference of `flash.toml` and of environment variables: tables from which pages in `docs/` are made. Only for tests.
//!
//! A table says of each key or variable what it takes and means. The tests compare the keys with those that the parser
//! takes, try each limit on it, and look for variables in the sources, so that the pages neither lack nor invent one.
mod key;
mod page;
mod settings;
mod variables;
