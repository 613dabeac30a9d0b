mod golden;
mod layers;
#[cfg(feature = "lz4")]
mod lz4;
mod lzw;
mod properties;
mod stream;
