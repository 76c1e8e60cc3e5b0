//! Drivers that need no outside library.

pub mod packet_generator;
