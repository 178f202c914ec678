//! The messages of a `.caffemodel` that an import reads, with the field numbers of `caffe.proto`.
//! Fields that are not listed are passed over.

use prost::Message;

/// `NetParameter`: the network.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Net {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Layers in the form of 2014, in which bvlc_alexnet is distributed.
    #[prost(message, repeated, tag = "2")]
    pub(super) layers: Vec<V1Layer>,
    #[prost(message, repeated, tag = "100")]
    pub(super) layer: Vec<Layer>,
}

/// `LayerParameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Layer {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) bottom: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(super) top: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(super) blobs: Vec<Blob>,
    #[prost(message, optional, tag = "106")]
    pub(super) convolution: Option<Convolution>,
    #[prost(message, optional, tag = "108")]
    pub(super) dropout: Option<Dropout>,
    #[prost(message, optional, tag = "118")]
    pub(super) lrn: Option<Lrn>,
    #[prost(message, optional, tag = "121")]
    pub(super) pooling: Option<Pooling>,
}

/// `V1LayerParameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct V1Layer {
    /// A layer in the form of 2013, which has everything inside.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) v0: Option<Vec<u8>>,
    #[prost(string, repeated, tag = "2")]
    pub(super) bottom: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(super) top: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) name: String,
    #[prost(int32, tag = "5")]
    pub(super) kind: i32,
    #[prost(message, repeated, tag = "6")]
    pub(super) blobs: Vec<Blob>,
    #[prost(message, optional, tag = "10")]
    pub(super) convolution: Option<Convolution>,
    #[prost(message, optional, tag = "12")]
    pub(super) dropout: Option<Dropout>,
    #[prost(message, optional, tag = "18")]
    pub(super) lrn: Option<Lrn>,
    #[prost(message, optional, tag = "19")]
    pub(super) pooling: Option<Pooling>,
}

/// Types of layers in the form of 2014, with their present names.
pub(super) const V1_KINDS: [(i32, &str); 12] = [
    (1, "Accuracy"),
    (4, "Convolution"),
    (5, "Data"),
    (6, "Dropout"),
    (12, "ImageData"),
    (14, "InnerProduct"),
    (15, "LRN"),
    (17, "Pooling"),
    (18, "ReLU"),
    (20, "Softmax"),
    (21, "SoftmaxWithLoss"),
    (22, "Split"),
];

/// `BlobProto`: numbers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Blob {
    #[prost(int64, tag = "1")]
    pub(super) num: i64,
    #[prost(int64, tag = "2")]
    pub(super) channels: i64,
    #[prost(int64, tag = "3")]
    pub(super) height: i64,
    #[prost(int64, tag = "4")]
    pub(super) width: i64,
    #[prost(float, repeated, tag = "5")]
    pub(super) data: Vec<f32>,
    /// Shape; older files have the four numbers instead.
    #[prost(message, optional, tag = "7")]
    pub(super) shape: Option<BlobShape>,
}

/// `BlobShape`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dim: Vec<i64>,
}

/// `ConvolutionParameter`; absent numbers have Caffe's defaults.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Convolution {
    #[prost(uint32, repeated, tag = "3")]
    pub(super) pad: Vec<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub(super) group: Option<u32>,
    #[prost(uint32, repeated, tag = "6")]
    pub(super) stride: Vec<u32>,
}

/// `DropoutParameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dropout {
    #[prost(float, optional, tag = "1")]
    pub(super) ratio: Option<f32>,
}

/// `LRNParameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Lrn {
    #[prost(uint32, optional, tag = "1")]
    pub(super) local_size: Option<u32>,
    #[prost(float, optional, tag = "2")]
    pub(super) alpha: Option<f32>,
    #[prost(float, optional, tag = "3")]
    pub(super) beta: Option<f32>,
    #[prost(int32, optional, tag = "4")]
    pub(super) norm_region: Option<i32>,
    #[prost(float, optional, tag = "5")]
    pub(super) k: Option<f32>,
}

/// `PoolingParameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pooling {
    #[prost(int32, optional, tag = "1")]
    pub(super) pool: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) kernel_size: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub(super) stride: Option<u32>,
}
