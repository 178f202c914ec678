//! Every operation against a plain f64 reference, every gradient of a reference against finite
//! differences: one body for every backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]

use std::path::PathBuf;

use gpu_worker::backend::cpu::{Convolution, Cpu};
use gpu_worker::backend::cuda::{Cuda, Gpu, Options};

#[path = "ops/harness.rs"]
mod harness;
#[path = "ops/search.rs"]
mod search;
#[path = "ops/conv.rs"]
mod conv;
#[path = "ops/fc.rs"]
mod fc;
#[path = "ops/bias.rs"]
mod bias;
#[path = "ops/activation.rs"]
mod activation;
#[path = "ops/lrn.rs"]
mod lrn;
#[path = "ops/pool.rs"]
mod pool;
#[path = "ops/lrn_pool.rs"]
mod lrn_pool;
#[path = "ops/dropout.rs"]
mod dropout;
#[path = "ops/scale.rs"]
mod scale;
#[path = "ops/add.rs"]
mod add;
#[path = "ops/softmax.rs"]
mod softmax;
#[path = "ops/sgd.rs"]
mod sgd;
#[path = "ops/input.rs"]
mod input;
#[path = "ops/transfer.rs"]
mod transfer;

/// The GPU of these tests: the emulated driver's first, or with `CUDA_TEST=real` the machine's.
/// Without NVRTC: None, with a line that says so; on a real machine a failure, as a missing GPU is.
///
/// `CUDA_TEST_KERNELS` names a folder of kernels to be tested in place of those built in.
fn gpu() -> Option<Cuda> {
    let nvrtc = cuda_emulator::nvrtc()?;
    if !cuda_emulator::is_real() {
        cuda_emulator::install();
    }
    let options = Options {
        search: search::search(nvrtc.path),
        cache: Some(cuda_emulator::kernel_cache()),
        kernels: std::env::var_os("CUDA_TEST_KERNELS").map(PathBuf::from),
        ..Options::new(Gpu::Ordinal(0))
    };
    Some(Cuda::new(&options).unwrap_or_else(|why| panic!("no GPU to test on: {why}")))
}

/// A CPU that computes all convolutions in one way.
fn convolving(threads: usize, how: Convolution) -> Option<Cpu> {
    Some(Cpu::new(threads).convolving(how))
}

/// Makes a test of each body for one backend, where there is one.
macro_rules! on {
    ($backend:ident, $new:expr, $($op:ident: $($body:ident)+;)+) => {
        mod $backend {
            $(mod $op {
                $(#[test]
                fn $body() {
                    if let Some(mut backend) = $new {
                        crate::$op::$body(&mut backend);
                    }
                })+
            })+
        }
    };
}

macro_rules! on_every_way_to_convolve {
    ($($tests:tt)+) => {
        on!(cpu_product, crate::convolving(3, crate::Convolution::Product), $($tests)+);
        on!(cpu_direct, crate::convolving(1, crate::Convolution::Direct), $($tests)+);
        on!(cpu_direct_3, crate::convolving(3, crate::Convolution::Direct), $($tests)+);
        on!(cpu_frequency, crate::convolving(1, crate::Convolution::Frequency), $($tests)+);
        on!(cpu_frequency_3, crate::convolving(3, crate::Convolution::Frequency), $($tests)+);
    };
}

macro_rules! on_every_backend {
    ($($tests:tt)+) => {
        on!(cpu, Some(crate::Cpu::new(1)), $($tests)+);
        on!(cpu_of_three_threads, Some(crate::Cpu::new(3)), $($tests)+);
        on!(cuda, crate::gpu(), $($tests)+);
    };
}

/// No backend takes part in these: once is enough. The other operations compare their references,
/// which take no time, along with each backend.
mod references {
    #[test]
    fn convolution_agrees_with_finite_differences() {
        crate::conv::reference_agrees_with_finite_differences();
    }

    #[test]
    fn fully_connected_layer_agrees_with_finite_differences() {
        crate::fc::reference_agrees_with_finite_differences();
    }
}

on_every_backend! {
    conv:
        agrees_with_the_reference_whole_and_in_ranges
        gives_the_same_bits_in_micro_batches
        refuses_buffers_that_do_not_fit
        refuses_a_weight_gradient_of_no_image;
    fc:
        agrees_with_the_reference_whole_and_in_ranges
        gives_the_same_bits_in_micro_batches
        refuses_buffers_that_do_not_fit;
    bias:
        adds_up_images_and_pixels
        refuses_buffers_that_do_not_fit;
    activation:
        agrees_with_the_reference
        keeps_nan;
    scale:
        scales_only_its_images;
    add:
        adds_only_its_images;
    lrn:
        agrees_with_the_reference
        divides_ones_by_the_papers_constant
        gives_the_same_bits_in_micro_batches;
    pool:
        agrees_with_the_reference
        takes_the_first_of_equals
        gives_nothing_where_no_window_reaches
        refuses_windows_that_do_not_fit
        keeps_nan
        gives_the_same_bits_in_micro_batches;
    lrn_pool:
        gives_the_bits_of_one_after_the_other
        refuses_a_pooling_of_other_maps
        gives_the_same_bits_in_micro_batches;
    dropout:
        silences_what_the_documented_function_says
        silences_what_the_documented_function_says_beyond_32_bits
        silences_as_often_as_asked
        does_not_depend_on_halves_or_micro_batches;
    softmax:
        agrees_with_the_reference
        stands_large_logits
        a_label_that_is_no_class_gives_no_number
        gives_both_halves_the_same_probabilities
        refuses_buffers_that_do_not_fit;
    sgd:
        follows_the_papers_rule;
    input:
        agrees_with_the_reference
        never_reads_beyond_the_mean;
    transfer:
        carries_f32_in_any_pieces
        carries_f16_with_the_largest_below_its_limit
        finds_the_largest_of_many
        numbers_that_nobody_waits_for_do_no_harm
        carries_zeros_and_what_is_not_finite
        carries_bytes_in_any_pieces
        refuses_what_does_not_fit
        measures_time;
}

on_every_way_to_convolve! {
    conv:
        agrees_with_the_reference_whole_and_in_ranges
        gives_the_same_bits_in_micro_batches;
}

#[test]
fn convolution_sums_weights_alike_in_any_number_of_threads() {
    conv::sums_weights_alike_in_any_number_of_threads();
}

#[test]
fn convolution_computes_alike_with_vectors_of_any_width() {
    conv::computes_alike_with_vectors_of_any_width();
}

#[test]
fn convolution_notices_changed_weights_and_gradients_in_frequency() {
    conv::notices_changed_weights_and_gradients_in_frequency();
}

#[test]
fn convolution_is_as_exact_in_frequency_as_by_products() {
    conv::is_as_exact_in_frequency_as_by_products();
}
