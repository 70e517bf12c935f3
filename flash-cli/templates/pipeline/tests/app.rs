//! The pipeline in process, without the model: a fake takes the place of the embedder.
use flash_sdk::{Error, Result, testing::fake};
use ::{{crate}}::{embedder::Embedder, ranking::search};

const TEXT: &str = "Cats sleep. Trains are late! Who knows?";

#[flash_sdk::test]
async fn the_sentence_nearest_to_the_question_comes_first() -> Result<()> {
    // Its vector says whether a text speaks of trains.
    let embedder = fake(Embedder::embed, |texts: Vec<String>| async move {
        Ok(texts.iter().map(|text| if text.contains("rain") { vec![1.0, 0.0] } else { vec![0.0, 1.0] }).collect())
    });
    let hits = search("When is my train?".to_owned(), TEXT.to_owned()).await?;
    assert_eq!((hits.len(), hits[0].sentence.as_str(), hits[0].score), (3, "Trains are late!", 1.0));
    assert_eq!(embedder.calls(), 1);
    Ok(())
}

#[flash_sdk::test]
async fn a_text_without_sentences_costs_no_gpu() {
    let embedder = fake(Embedder::embed, |_| async { Err::<Vec<Vec<f32>>, _>(Error::handler("not asked")) });
    let error = search("Why?".to_owned(), "  ".to_owned()).await.unwrap_err();
    assert_eq!((error.message(), embedder.calls()), ("the text has no sentences", 0));
}
