/* ResNets against PyTorch's losses in fp64; record_resnet.py says what the runs
 * are and why they have their sizes. */
#include "golden.h"

/* Of each loss; record_resnet.py says how far PyTorch's own fp32 is off. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-4

static void test_20_losses_of_a_narrow_resnet18_match_pytorch(void)
{
  golden_check_resnet("small18", TR_F64, "reference", TOLERANCE_F64);
  golden_check_resnet("small18", TR_F64, "strict", TOLERANCE_F64);
}

static void test_resnet18_on_its_own_images_matches_pytorch(void)
{
  golden_check_resnet("wide18", TR_F64, "reference", TOLERANCE_F64);
}

static void test_20_losses_of_resnet18_match_pytorch(void)
{
  golden_check_resnet("full18", TR_F64, "reference", TOLERANCE_F64);
}

static void test_20_losses_of_resnet18_in_fp32_match_pytorch(void)
{
  golden_check_resnet("low18_small", TR_F32, "cpu", TOLERANCE_F32);
}

static void test_losses_of_a_narrow_resnet50_match_pytorch(void)
{
  golden_check_resnet("small50", TR_F64, "reference", TOLERANCE_F64);
}

static const tr_test tests[] = {
    TEST(test_20_losses_of_a_narrow_resnet18_match_pytorch),
    TEST(test_resnet18_on_its_own_images_matches_pytorch),
    TEST(test_20_losses_of_resnet18_match_pytorch),
    TEST(test_20_losses_of_resnet18_in_fp32_match_pytorch),
    TEST(test_losses_of_a_narrow_resnet50_match_pytorch),
};

TEST_MAIN(tests)
