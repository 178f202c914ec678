//! The CPU: the reference for every kernel, and the default where there is no GPU.
