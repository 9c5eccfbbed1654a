/* The workloads that take a minute: what the other tests run at a smaller size,
 * in fp32 at the size that the workload has. */
#include "golden.h"

/* Of each loss: PyTorch's own fp32 losses differ from its fp64 ones by NOISE.
 */
#define TOLERANCE_F32 1e-4

static void test_20_losses_of_resnet18_in_fp32_match_pytorch_at_full_size(void)
{
  golden_check_resnet("low18", TR_F32, "cpu", TOLERANCE_F32);
}

static const tr_test tests[] = {
    TEST(test_20_losses_of_resnet18_in_fp32_match_pytorch_at_full_size),
};

TEST_MAIN(tests)
