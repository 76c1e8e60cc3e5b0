//! `raddle top`: what the dataplane does, as it does it.

mod command;
mod keys;
mod rates;
mod sample;
mod screen;
mod terminal;
mod view;

pub(super) use command::top;
pub(super) use view::View;
