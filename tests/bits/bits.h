/* The trainings whose bits scripts/same_bits compares between two builds. */
#ifndef TR_BITS_H
#define TR_BITS_H

#include <train/train.h>

/* What a network learns from. */
typedef enum bits_data { CLASSES, NUMBERS, TEXT } bits_data;

typedef struct bits_network {
  const char *name;
  void (*build)(tr_model *net, tr_shape shape, int64_t classes);
  bits_data data;
  tr_shape shape, target_shape;
  int64_t classes;
} bits_network;

extern const bits_network bits_mlp, bits_convnet, bits_resnet, bits_resnet18,
    bits_gpt, bits_gpt_tied, bits_surrogate, bits_zoo, bits_regularised;

typedef enum bits_optimizer {
  ADAM,
  ADAMW,
  SGD,
  MOMENTUM,
  RMSPROP,
  ADAGRAD,
  MUON
} bits_optimizer;

/* How a step is driven. */
typedef enum bits_loop { TRAINER_STEP, EXPLICIT, TRAINER_FIT } bits_loop;

/* One training; zero is the default of everything but the first two. */
typedef struct bits_case {
  const char *name;
  const bits_network *network;
  int ranks;      /* 0: 1 */
  int64_t shards; /* virtual shards */
  tr_dtype dtype; /* 0: float32 */
  tr_dtype wire;
  const char *device; /* NULL: "cpu" */
  int threads;        /* 0: 1 */
  bits_optimizer optimizer;
  bits_loop loop;
  int micro_batches; /* of a step of the explicit loop; 0: 1 */
  double clip_norm;
  int zero1;          /* shard_state */
  const char *frozen; /* pattern of parameter names */
} bits_case;

extern const bits_case bits_cases[];
extern const int bits_num_cases;

#endif
