//! Helpers that tests share; never shipped
