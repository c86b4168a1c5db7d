//! Restores that an operator can trust: in place, by exchange, interrupted, against damage and hostility.

mod application;
mod claims;
mod exchange;
mod held;
mod in_place;
mod kill;
mod mounts;
mod new_instance;
mod programs;
mod random;
mod roots;
mod selecting;
mod trouble;
mod verify;
