//! Build, test, demo and bench commands.
fn main() {}
