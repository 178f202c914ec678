// philox.cu — counter-based random numbers; a prelude, without kernels.
//
// Math    Philox 4×32, ten rounds (Salmon et al., SC 2011): four words, a pure function of counter and key.
// Shapes  counter: four words, key: two.
// Launch  called by the thread that needs the words.
// Result  the bits of every other device.
// Twin    proto/model/src/random.rs.

struct Words { unsigned int word[4]; };

static __device__ Words philox(Words counter, unsigned int key0, unsigned int key1)
{
    unsigned int* w = counter.word;
    for (int round = 0; round < 10; round++) {
        unsigned int low0 = 0xD2511F53u * w[0], high0 = __umulhi(0xD2511F53u, w[0]);
        unsigned int low2 = 0xCD9E8D57u * w[2], high2 = __umulhi(0xCD9E8D57u, w[2]);
        w[0] = high2 ^ w[1] ^ key0;
        w[1] = low2;
        w[2] = high0 ^ w[3] ^ key1;
        w[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}
