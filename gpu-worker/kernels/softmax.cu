// softmax.cu — probabilities of all classes, each image's loss, and the gradient of our own logits.
//
// Math    p = exp(z − max z) / Σ exp(z − max z)    loss = −ln p(label)    dz = (p − 1(label)) / batch
//         A label that is no class gives a loss that is not a number.                          paper §3.5
// Shapes  own: [images, n_own], the classes from own_start on; peer: [images, classes − n_own], the others;
//         labels: [images] f32; probabilities: [images, classes]; loss: [images]; dlogits: [images, n_own].
// Launch  128 threads per block, one block an image. Shared: 128 doubles, one partial sum a thread.
// Result  same bits every run and in both halves: which thread adds which class depends on the class alone.
// Twin    src/backend/cpu/softmax.rs, which adds in class order: the last bit may differ.

constexpr int THREADS = 128;

static __device__ float logit(
    const float* own, const float* peer, int own_start, int n_own, int c)
{
    if (c < own_start) return peer[c];
    if (c < own_start + n_own) return own[c - own_start];
    return peer[c - n_own];
}

extern "C" __global__ void __launch_bounds__(THREADS) softmax(
    float* probabilities, float* loss, float* dlogits,
    const float* own, const float* peer, const float* labels,
    float batch, int classes, int own_start, int n_own)
{
    __shared__ double shared[THREADS];
    int t = threadIdx.x;
    long long image = blockIdx.x;
    own += image * n_own;
    peer += image * (classes - n_own);
    probabilities += image * classes;
    dlogits += image * n_own;

    float largest = __int_as_float(0xff800000);                         // −∞
    for (int c = t; c < classes; c += THREADS) {
        largest = fmaxf(largest, logit(own, peer, own_start, n_own, c));
    }
    shared[t] = largest;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) shared[t] = fmax(shared[t], shared[t + half]);
        __syncthreads();
    }
    largest = (float)shared[0];
    __syncthreads();                                                    // all have read it

    double sum = 0.0;
    for (int c = t; c < classes; c += THREADS) {
        sum += (double)expf(logit(own, peer, own_start, n_own, c) - largest);
    }
    shared[t] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads();
    }
    sum = shared[0];

    int label = (int)labels[image];
    for (int c = t; c < classes; c += THREADS) {
        float p = (float)((double)expf(logit(own, peer, own_start, n_own, c) - largest) / sum);
        probabilities[c] = p;
        if (c >= own_start && c < own_start + n_own) {
            dlogits[c - own_start] = (p - (c == label ? 1.0f : 0.0f)) / batch;
        }
    }
    if (t == 0) {
        bool known = label >= 0 && label < classes;
        float z = known ? logit(own, peer, own_start, n_own, label) - largest : __int_as_float(0x7fc00000);
        loss[image] = (float)(log(sum) - (double)z);
    }
}
