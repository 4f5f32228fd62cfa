//! What a compiled service answers in the best case: axum on one thread, constant answers, no log.
//!
//! GET / answers a constant. POST / reads its body as a batch of prices, and answers a constant. It serves on a free
//! port, which it prints as JSON.

use axum::{http::header, response::IntoResponse, routing::get, Json, Router};
use serde::Deserialize;
use std::io::Write;

const GET_ANSWER: &str = r#"{"min":149.8,"max":152.0,"last":151.9,"avg":150.93,"var":0.5201}"#;
const POST_ANSWER: &str = r#"{"status":"success","added":10,"total":1000000,"durability":"interval"}"#;

#[derive(Deserialize)]
struct Batch {
    symbol: String,
    values: Vec<f64>,
}

async fn stats() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], GET_ANSWER)
}

async fn add_batch(Json(batch): Json<Batch>) -> impl IntoResponse {
    // Used, so that the compiler can't leave it out.
    std::hint::black_box((batch.symbol.len(), batch.values.len()));
    ([(header::CONTENT_TYPE, "application/json")], POST_ANSWER)
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!(r#"{{"event":"serving","port":{}}}"#, listener.local_addr()?.port());
        std::io::stdout().flush()?;
        axum::serve(listener, Router::new().route("/", get(stats).post(add_batch))).await
    })
}
