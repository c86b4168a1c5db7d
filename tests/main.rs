//! The one integration test binary.

mod bad_input;
mod browse;
mod check;
mod cli;
mod common;
mod completions;
mod copy;
mod crash;
mod damage;
mod demo;
mod forget;
mod known;
mod large;
mod layering;
mod manual;
mod mount;
mod prune;
mod real_tree;
mod restore;
mod round_trip;
mod run;
mod selector;
mod stats;
mod window;
mod years;
