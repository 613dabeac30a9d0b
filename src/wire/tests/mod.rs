mod golden;
mod layers;
mod lzw;
mod properties;
mod stream;
