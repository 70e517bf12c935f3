//! Types of every shape, each given back as it came: for generated requests against the API description.
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use flash_sdk::{CpuInstance, ResourceConfig, Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const ZOO: ResourceConfig = ResourceConfig::new("zoo")
    .cpu(CpuInstance::Cpu3c_1_2)
    .workers(0..=1)
    .idle_timeout(60)
    .execution_timeout(30);

/// Of every kind one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Animal {
    /// Its id.
    pub id: Uuid,
    /// When it was born.
    pub born: DateTime<Utc>,
    /// What it looks like.
    pub shape: Shape,
    /// What it did last.
    pub event: Event,
    /// By number or name.
    pub cage: Either,
    /// How big it is.
    #[serde(flatten)]
    pub size: Size,
    /// Its meals.
    pub meals: Page<u8>,
    /// Its legs, by name.
    #[serde(default)]
    pub legs: BTreeMap<String, i16>,
}

/// Contains itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tree {
    /// Its own value.
    pub value: i32,
    /// Those below it.
    #[serde(default)]
    pub children: Vec<Tree>,
}

/// Tagged from outside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Without parts.
    Dot,
    /// With one part.
    Circle(f32),
    /// With named parts.
    Box {
        /// From side to side.
        width: u8,
        /// From top to bottom.
        height: u8,
    },
}

/// Tagged from inside.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A key.
    Key {
        /// Its code.
        code: u16,
    },
    /// A click.
    Click {
        /// Where.
        at: (i32, i32),
    },
}

/// Without a tag.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Either {
    /// A number.
    Number(i64),
    /// A name.
    Name(String),
}

/// Flattened into another.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// In millimetres.
    pub length: u32,
    /// In grams.
    pub weight: u64,
}

/// Generic.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What comes next.
    pub next: Option<T>,
}

/// Gives an animal back.
#[remote(resource = ZOO, method = POST, path = "/zoo/animals")]
pub async fn animal(animal: Animal) -> Result<Animal> {
    Ok(animal)
}

/// Gives a tree back.
#[remote(resource = ZOO, method = PUT, path = "/zoo/trees/{id}")]
pub async fn tree(id: Uuid, tree: Tree, note: Option<char>) -> Result<Value> {
    Ok(json!({ "id": id, "tree": tree, "note": note }))
}

/// Shows what the query brought.
#[remote(resource = ZOO, method = GET, path = "/zoo/search/{page}")]
pub async fn find(
    page: u8,
    tag: Option<Vec<String>>,
    since: Option<NaiveDate>,
    least: Option<i16>,
    exact: Option<bool>,
) -> Result<Value> {
    Ok(json!({ "page": page, "tag": tag, "since": since, "least": least, "exact": exact }))
}

/// Gives an animal back, as a job.
#[remote(worker = "keeper", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60, max_concurrency = 8)]
pub async fn keep(animal: Animal) -> Result<Animal> {
    Ok(animal)
}

/// Adds numbers of 128 bits.
#[remote(worker = "keeper")]
pub async fn count(numbers: Vec<u128>, sign: Option<i128>) -> Result<Vec<String>> {
    Ok(numbers.iter().map(u128::to_string).chain(sign.map(|sign| sign.to_string())).collect())
}
