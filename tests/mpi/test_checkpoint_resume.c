/* Saving and resuming on 1-4 ranks: a resumed run has the same bits, or the
 * resume is refused with a clear message. */
#include "base/random_impl.h"
#include "checkpoint/checkpoint_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "model/model_impl.h"
#include "mpi_test.h"
#include "shared_dir.h"

#include <errno.h>
#include <mpi.h>
#include <sys/resource.h>
#include <train/mpi.h>
#include <train/train.h>
#include <unistd.h>

enum { SAMPLES = 97, FEATURES = 12, CLASSES = 5, BATCH = 16 };

/* A run: all objects that a program holds. */
typedef struct run {
  tr_context *ctx;
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  tr_checkpoint checkpoint;
} run;

typedef struct run_opts {
  MPI_Comm comm; /* MPI_COMM_NULL: all ranks */
  const char *device;
  tr_dtype dtype;
  uint64_t seed;
  int width; /* of the hidden layer; 0: 9 */
  bool no_loss;
  bool sgd;            /* instead of AdamW */
  bool muon;           /* instead of AdamW */
  int64_t num_samples; /* 0: SAMPLES */
} run_opts;

static char warnings[2048];

static void keep_line(void *user, tr_log_level level, const char *line)
{
  (void)user;
  if (level == TR_LOG_WARNING) {
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", line);
  }
}

static double *random_values(int64_t count)
{
  const tr__random random = {.seed = test_seed()};
  double *values = malloc((size_t)count * sizeof *values);
  ASSERT(values != NULL);
  tr__random_fill(&random, -1, 1, count, values);
  return values;
}

/* The arrays live as long as the program: a data set borrows them. */
static tr_array_opts arrays(tr_dtype dtype, int64_t num_samples)
{
  static float narrow[SAMPLES * FEATURES];
  static double *wide;
  static int32_t labels[SAMPLES];
  if (wide == NULL) {
    wide = random_values(SAMPLES * FEATURES);
    for (int i = 0; i < SAMPLES * FEATURES; i++) {
      narrow[i] = (float)wide[i];
    }
    for (int i = 0; i < SAMPLES; i++) {
      labels[i] = (int)(FEATURES * wide[i * FEATURES] + FEATURES) % CLASSES;
    }
  }
  return (tr_array_opts){.x = dtype == TR_F64 ? (const void *)wide : narrow,
                         .y = labels,
                         .num_samples = num_samples,
                         .num_classes = CLASSES,
                         .shape = {.ndim = 1, .dims = {FEATURES}}};
}

static run begin(run_opts opts)
{
  run r = {0};
  tr_context_opts ctx_opts = {.device = opts.device,
                              .dtype = opts.dtype,
                              .seed = opts.seed,
                              .threads = 1,
                              .log = keep_line};
  MPI_Comm comm = opts.comm != MPI_COMM_NULL ? opts.comm : MPI_COMM_WORLD;
  ASSERT_OK(tr_context_create(comm, &ctx_opts, &r.ctx));
  tr_array_opts data =
      arrays(opts.dtype, opts.num_samples > 0 ? opts.num_samples : SAMPLES);
  ASSERT_OK(tr_array_open(r.ctx, &data, &r.data));
  tr_loader_opts loader = {.batch = BATCH, .shuffle = 1};
  ASSERT_OK(tr_loader_create(r.ctx, r.data, &loader, &r.loader));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_input(r.net, tr_dataset_shape(r.data));
  int width = opts.width > 0 ? opts.width : 9;
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = width, .name = "fc1"});
  x = tr_relu(r.net, x);
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = CLASSES, .name = "fc2"});
  if (!opts.no_loss) {
    tr_cross_entropy(r.net, x);
  }
  ASSERT_OK(tr_model_build(r.net, NULL));
  if (opts.no_loss) {
    r.checkpoint = (tr_checkpoint){.model = r.net, .must_exist = 1};
    return r;
  }
  if (opts.sgd) {
    tr_sgd_opts sgd = {.lr = 0.05, .momentum = 0.9};
    ASSERT_OK(tr_sgd_create(r.net, &sgd, &r.opt));
  } else if (opts.muon) {
    tr_muon_opts muon = tr_muon_defaults();
    ASSERT_OK(tr_muon_create(r.net, &muon, &r.opt));
  } else {
    tr_adamw_opts adamw = tr_adamw_defaults();
    ASSERT_OK(tr_adamw_create(r.net, &adamw, &r.opt));
  }
  r.checkpoint =
      (tr_checkpoint){.model = r.net, .optimizer = r.opt, .loader = r.loader};
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_loader_destroy(&r->loader);
  tr_dataset_destroy(&r->data);
  tr_context_destroy(&r->ctx);
}

static void train(run *r, int steps)
{
  while (steps > 0) {
    tr_batch batch;
    if (!tr_loader_next(r->loader, &batch)) {
      ASSERT_OK(tr_loader_status(r->loader));
      continue;
    }
    ASSERT_OK(tr_model_forward(r->net, &batch));
    ASSERT_OK(tr_model_backward(r->net));
    ASSERT_OK(tr_model_allreduce_grads(r->net));
    ASSERT_OK(tr_optimizer_step(r->opt));
    steps--;
  }
}

static uint64_t hash_of(run *r)
{
  uint64_t hash;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  return hash;
}

static const char *in_dir(const char *dir, const char *name)
{
  static char path[400];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

/* Flips a bit in the middle of a data set of the file; all ranks wait until it
 * is done. */
static void damage(const char *path, const char *name)
{
  MPI_Barrier(MPI_COMM_WORLD);
  if (world_rank() == 0) {
    unsigned char *bytes;
    size_t length;
    tr__sealed sealed;
    ASSERT_OK(
        tr__read_file(tr__file_ops_system(), path, 1 << 30, &bytes, &length));
    ASSERT_OK(tr__seal_verify(path, bytes, length, &sealed));
    const tr__sealed_entry *entry = tr__sealed_find(&sealed, name);
    ASSERT(entry != NULL);
    size_t at = (size_t)((const unsigned char *)entry->data - bytes);
    bytes[at + entry->bytes / 2] ^= 4;
    FILE *file = fopen(path, "wb");
    ASSERT(file != NULL && fwrite(bytes, 1, length, file) == length);
    ASSERT_EQ(fclose(file), 0);
    tr__sealed_release(&sealed);
    free(bytes);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

/* Saves after k steps and ends after 17; an epoch has 7 steps. */
static void resume_gives_the_same_bits(run_opts opts, int k)
{
  const char *dir = shared_dir();
  run whole = begin(opts), first = begin(opts);
  train(&whole, 17);
  train(&first, k);
  ASSERT_OK(tr_checkpoint_save(first.ctx, dir, &first.checkpoint));
  end(&first);
  run_opts other = opts;
  other.seed = opts.seed + 1;
  run second = begin(other);
  ASSERT_OK(tr_checkpoint_resume(second.ctx, dir, &second.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(second.opt), k);
  train(&second, 17 - k);
  ASSERT_EQ(hash_of(&second), hash_of(&whole));
  ASSERT_EQ(tr_loader_epoch(second.loader), tr_loader_epoch(whole.loader));
  end(&second);
  end(&whole);
}

static void test_a_resumed_run_has_the_bits_of_the_undisturbed_one(void)
{
  for (int k = 0; k <= 17; k += 3) {
    resume_gives_the_same_bits((run_opts){.comm = MPI_COMM_NULL}, k);
  }
  resume_gives_the_same_bits((run_opts){.comm = MPI_COMM_NULL}, 7);
}

static void test_the_same_holds_in_doubles_with_momentum_and_strictly(void)
{
  resume_gives_the_same_bits(
      (run_opts){.comm = MPI_COMM_NULL, .dtype = TR_F64, .sgd = true}, 5);
  resume_gives_the_same_bits(
      (run_opts){.comm = MPI_COMM_NULL, .device = "strict", .sgd = true}, 5);
  resume_gives_the_same_bits(
      (run_opts){.comm = MPI_COMM_NULL, .device = "reference"}, 9);
}

static void test_muon_resumes_with_the_same_bits(void)
{
  run_opts opts = {.comm = MPI_COMM_NULL, .muon = true};
  resume_gives_the_same_bits(opts, 5);
  opts.device = "strict";
  resume_gives_the_same_bits(opts, 8);
}

static void test_one_rank_saves_and_all_ranks_resume(void)
{
  const char *dir = shared_dir();
  uint64_t hash = 0, done = 0;
  MPI_Comm alone;
  MPI_Comm_split(MPI_COMM_WORLD, world_rank() == 0 ? 0 : MPI_UNDEFINED, 0,
                 &alone);
  if (alone != MPI_COMM_NULL) {
    run r = begin((run_opts){.comm = alone});
    train(&r, 10);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
    hash = hash_of(&r);
    done = (uint64_t)tr__loader_get_state(r.loader).done;
    end(&r);
    MPI_Comm_free(&alone);
  }
  MPI_Bcast(&hash, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  MPI_Bcast(&done, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  run r = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 9});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_EQ(tr__loader_get_state(r.loader).done, done);
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 10);
  /* The ranks together read as many samples as the epoch has left. */
  int64_t mine = 0, all = 0;
  tr_batch batch;
  while (tr_loader_next(r.loader, &batch)) {
    mine += batch.count;
  }
  MPI_Allreduce(&mine, &all, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  ASSERT_EQ(all, SAMPLES - (int64_t)done);
  end(&r);
}

static void test_an_empty_or_missing_directory_changes_no_state(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  const tr_checkpoint reading = {.model = r.net};
  train(&r, 3);
  uint64_t hash = hash_of(&r);
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &reading));
  ASSERT(access(dir, F_OK) != 0);
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 3);
  r.checkpoint.must_exist = 1;
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_ENOINPUT,
               "no checkpoint");
  ASSERT_EQ(hash_of(&r), hash);
  end(&r);
}

/* Saves after 2, 4 and 6 steps and keeps all three. */
static void save_three(const char *dir)
{
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  r.checkpoint.keep = 3;
  for (int i = 0; i < 3; i++) {
    train(&r, 2);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  }
  end(&r);
}

static void test_a_damaged_checkpoint_is_named_and_the_one_before_taken(void)
{
  const char *dir = shared_dir();
  save_three(dir);
  damage(in_dir(dir, "step-00000006.h5"), "/params/fc1.weight");
  damage(in_dir(dir, "step-00000004.h5"), "/optim/fc2.bias/exp_avg_sq");
  warnings[0] = '\0';
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
  if (world_rank() == 0) {
    ASSERT(strstr(warnings, "step-00000006.h5: data set /params/fc1.weight is "
                            "damaged (CRC32C is 0x") != NULL);
    ASSERT(strstr(warnings, "step-00000004.h5: data set "
                            "/optim/fc2.bias/exp_avg_sq is damaged") != NULL);
  }
  /* A save does not delete the good checkpoint that was resumed in favour of
   * the damaged ones. */
  train(&r, 1);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  damage(in_dir(dir, "step-00000003.h5"), "/params/fc1.weight");
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 4);
  end(&r);
}

static void test_all_damaged_is_bad_data_and_changes_nothing(void)
{
  const char *dir = shared_dir();
  save_three(dir);
  damage(in_dir(dir, "step-00000006.h5"), "/params/fc1.weight");
  damage(in_dir(dir, "step-00000004.h5"), "/state/epoch");
  damage(in_dir(dir, "step-00000002.h5"), "/params/fc2.bias");
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  train(&r, 1);
  uint64_t hash = hash_of(&r);
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_EDATA,
               "none of 3 checkpoints can be used");
  ASSERT(tr__error_origin()->agreed);
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 1);
  end(&r);
}

static void refuses(const char *dir, run_opts opts, const char *text)
{
  run r = begin(opts);
  train(&r, 1);
  uint64_t hash = hash_of(&r);
  int64_t done = tr__loader_get_state(r.loader).done;
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_EMISMATCH,
               text);
  ASSERT(tr__error_origin()->agreed);
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 1);
  ASSERT_EQ(tr__loader_get_state(r.loader).done, done);
  end(&r);
}

static void test_another_model_optimizer_or_data_set_is_refused(void)
{
  const char *dir = shared_dir();
  save_three(dir);
  refuses(dir, (run_opts){.comm = MPI_COMM_NULL, .width = 10}, "fc1");
  refuses(dir, (run_opts){.comm = MPI_COMM_NULL, .dtype = TR_F64},
          "it has \"dtype float32\", this run has \"dtype float64\"");
  refuses(dir, (run_opts){.comm = MPI_COMM_NULL, .sgd = true},
          "another optimizer: it has \"adamw with exp_avg exp_avg_sq\", this "
          "run has \"sgd with");
  refuses(dir, (run_opts){.comm = MPI_COMM_NULL, .num_samples = SAMPLES - 1},
          "97");
}

static ssize_t
disk_is_full(int fd, const void *data, size_t bytes, off_t offset)
{
  (void)fd;
  (void)data;
  (void)bytes;
  (void)offset;
  errno = ENOSPC;
  return -1;
}

static void test_a_full_disk_fails_on_all_ranks_and_loses_nothing(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  struct rlimit old, small;
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  uint64_t hash = hash_of(&r);
  train(&r, 2);
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  tr_status status = tr_checkpoint_save(r.ctx, dir, &r.checkpoint);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FAILS(status, TR_EIO, "step-00000004.h5: cannot");
  ASSERT(tr__error_origin()->agreed);
  tr__file_ops full = *tr__file_ops_system();
  full.write = disk_is_full;
  ASSERT_FAILS(tr__checkpoint_save_with(r.ctx, &full, dir, &r.checkpoint),
               TR_EIO, "step-00000004.h5: cannot write: No space left");
  run other = begin((run_opts){.comm = MPI_COMM_NULL});
  const tr_checkpoint reading = {.model = other.net};
  ASSERT_OK(tr_checkpoint_resume(other.ctx, dir, &reading));
  ASSERT_EQ(hash_of(&other), hash);
  train(&r, 1);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  ASSERT_OK(tr_checkpoint_resume(other.ctx, dir, &reading));
  ASSERT_EQ(hash_of(&other), hash_of(&r));
  end(&other);
  end(&r);
}

static void test_a_second_model_of_a_process_goes_on_but_never_saves(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  run other = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 3});
  const char *refused = "another model of this process keeps its checkpoints";
  const tr_checkpoint reading = {.model = other.net};
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  ASSERT_FAILS(tr_checkpoint_save(other.ctx, dir, &other.checkpoint), TR_ESTATE,
               refused);
  ASSERT(hash_of(&other) != hash_of(&r));
  ASSERT_OK(tr_checkpoint_resume(other.ctx, dir, &reading));
  ASSERT_EQ(hash_of(&other), hash_of(&r));
  ASSERT_OK(tr_checkpoint_resume(other.ctx, dir, &other.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(other.opt), 2);
  ASSERT_FAILS(tr_checkpoint_save(other.ctx, dir, &other.checkpoint), TR_ESTATE,
               refused);
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  end(&r);
  ASSERT_OK(tr_checkpoint_resume(other.ctx, dir, &other.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(other.opt), 4);
  end(&other);
}

/* Saves a run after 2 steps; returns the hash of its parameters. */
static uint64_t save_two_steps(const char *dir, uint64_t seed)
{
  run r = begin((run_opts){.comm = MPI_COMM_NULL, .seed = seed});
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  const uint64_t hash = hash_of(&r);
  end(&r);
  return hash;
}

/* A run of seed 1 saves after 2 steps. A run of seed 2 then starts as
 * tr_trainer_fit() starts one that is not resumed, and ends before its first
 * save. */
static void one_saves_and_another_starts(const char *dir, uint64_t *hash)
{
  *hash = save_two_steps(dir, 1);
  run second = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 2});
  if (world_rank() == 0) {
    ASSERT_OK(
        tr__checkpoint_begin(tr__file_ops_system(), dir, &second.checkpoint));
  }
  MPI_Barrier(MPI_COMM_WORLD);
  end(&second);
}

static void test_a_run_without_a_save_is_not_resumed_as_the_one_before(void)
{
  const char *dir = shared_dir();
  uint64_t saved;
  one_saves_and_another_starts(dir, &saved);
  warnings[0] = '\0';
  run r = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 2});
  const uint64_t hash = hash_of(&r);
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 0);
  ASSERT_EQ(hash_of(&r), hash);
  if (world_rank() == 0) {
    ASSERT(strstr(warnings, "the newest of step 2, are of run ") != NULL);
    ASSERT(strstr(warnings, "(seed 1, started ") != NULL);
    ASSERT(strstr(warnings, "(seed 2, started ") != NULL);
    ASSERT(strstr(warnings, "--take-over") != NULL);
  }
  r.checkpoint.must_exist = 1;
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_ENOINPUT,
               "no checkpoint: those there, the newest of step 2");
  end(&r);
}

static void test_a_run_that_is_taken_over_goes_on(void)
{
  const char *dir = shared_dir();
  uint64_t saved;
  one_saves_and_another_starts(dir, &saved);
  run r = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 1});
  r.checkpoint.take_over = 1;
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
  ASSERT_EQ(hash_of(&r), saved);
  end(&r);
  /* From here on the directory belongs to that run, for every process. */
  run again = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 1});
  ASSERT_OK(tr_checkpoint_resume(again.ctx, dir, &again.checkpoint));
  ASSERT_EQ(hash_of(&again), saved);
  end(&again);
}

static void test_the_directory_of_an_older_version_is_resumed(void)
{
  const char *dir = shared_dir();
  const uint64_t hash = save_two_steps(dir, 0);
  if (world_rank() == 0) {
    ASSERT_EQ(unlink(in_dir(dir, TR__IDENTITY_NAME)), 0);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT(world_rank() != 0 ||
         access(in_dir(dir, TR__IDENTITY_NAME), F_OK) == 0);
  end(&r);
}

static void test_a_directory_that_is_none_is_told_before_the_first_step(void)
{
  const char *dir = shared_dir();
  tr_trainer *trainer;
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  if (world_rank() == 0) {
    FILE *file = fopen(dir, "w");
    ASSERT(file != NULL && fclose(file) == 0);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  tr_trainer_opts opts = {.model = r.net,
                          .optimizer = r.opt,
                          .loader = r.loader,
                          .steps = 3,
                          .checkpoint_dir = dir};
  ASSERT_FAILS(tr_trainer_create(r.ctx, &opts, &trainer), TR_EIO, dir);
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint), TR_EIO, dir);
  end(&r);
}

static void test_parameters_alone_are_read_without_the_loss(void)
{
  const char *dir = shared_dir();
  const uint64_t hash = save_two_steps(dir, 0);
  run r = begin((run_opts){.comm = MPI_COMM_NULL, .no_loss = true});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(hash_of(&r), hash);
  end(&r);
  run other =
      begin((run_opts){.comm = MPI_COMM_NULL, .no_loss = true, .width = 7});
  ASSERT_FAILS(tr_checkpoint_resume(other.ctx, dir, &other.checkpoint),
               TR_EMISMATCH, "this run has");
  end(&other);
}

static void test_what_is_not_finite_or_torn_is_never_saved(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  float bias[CLASSES] = {0, 1, NAN};
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  uint64_t hash = hash_of(&r);
  r.ctx->torn = true;
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, dir, &r.checkpoint), TR_ESTATE,
               "half-way");
  r.ctx->torn = false;
  ASSERT_OK(tr_model_set_param(r.net, "fc2.bias", bias));
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, dir, &r.checkpoint), TR_ENUMERIC,
               "element 2 of parameter fc2.bias is not finite");
  r.ctx->torn = true;
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(hash_of(&r), hash);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  end(&r);
}

/* One bit of one parameter differs, as after a memory fault. */
static void test_ranks_that_drift_apart_are_named_and_not_saved(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  int size = r.ctx->comm->size, odd = size - 1;
  char text[64];
  train(&r, 2);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  if (r.ctx->comm->rank == odd) {
    uint32_t *values = r.net->store.values;
    values[tr__store_param(&r.net->store, "fc2.bias")->offset] ^= 1;
  }
  snprintf(text, sizeof text,
           "1 of %d ranks differ from those of the others "
           "(rank %d)",
           size, odd);
  train(&r, 2);
  tr_status expected = size > 1 ? TR_ESYSTEM : TR_OK;
  ASSERT_EQ(tr_checkpoint_save(r.ctx, dir, &r.checkpoint), expected);
  if (size > 1) {
    ASSERT(strstr(tr_error_message(), text) != NULL);
    ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
    ASSERT_EQ(tr_optimizer_num_steps(r.opt), 2);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  }
  end(&r);
}

static void test_parameters_load_from_a_checkpoint_as_from_any_file(void)
{
  const char *dir = shared_dir();
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  train(&r, 3);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  run other = begin((run_opts){.comm = MPI_COMM_NULL, .seed = 4, .sgd = true});
  const char *path = in_dir(dir, "step-00000003.h5");
  ASSERT_OK(tr_model_load(other.net, path));
  ASSERT_EQ(hash_of(&other), hash_of(&r));
  end(&other);
  other = begin((run_opts){.comm = MPI_COMM_NULL, .width = 10});
  uint64_t hash = hash_of(&other);
  /* Backward finishes fc2 first, so load reads fc2 first. */
  ASSERT_FAILS(tr_model_load(other.net, path), TR_ESHAPE,
               "/params/fc2.weight has (5, 9), the model expects (5, 10)");
  ASSERT_FAILS(tr_model_load(other.net, in_dir(dir, "none.h5")), TR_ENOINPUT,
               "none.h5");
  ASSERT_EQ(hash_of(&other), hash);
  end(&other);
  end(&r);
}

static void test_calls_with_wrong_arguments_are_refused(void)
{
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  run other = begin((run_opts){.comm = MPI_COMM_NULL});
  tr_checkpoint none = {0}, mixed = r.checkpoint, negative = r.checkpoint;
  mixed.optimizer = other.opt;
  negative.keep = -1;
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, "d", &none), TR_EINVAL, "a model");
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, "d", &mixed), TR_EINVAL, "optimizer");
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, "d", &negative), TR_EINVAL, "keep");
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, "", &r.checkpoint), TR_EINVAL,
               "directory");
  ASSERT_FAILS(tr_checkpoint_resume(r.ctx, NULL, &r.checkpoint), TR_EINVAL,
               "directory");
  ASSERT_FAILS(tr_checkpoint_resume(other.ctx, "d", &r.checkpoint), TR_EINVAL,
               "another context");
  end(&other);
  end(&r);
}

static const tr_test tests[] = {
    TEST(test_a_resumed_run_has_the_bits_of_the_undisturbed_one),
    TEST(test_the_same_holds_in_doubles_with_momentum_and_strictly),
    TEST(test_muon_resumes_with_the_same_bits),
    TEST(test_one_rank_saves_and_all_ranks_resume),
    TEST(test_an_empty_or_missing_directory_changes_no_state),
    TEST(test_a_damaged_checkpoint_is_named_and_the_one_before_taken),
    TEST(test_all_damaged_is_bad_data_and_changes_nothing),
    TEST(test_another_model_optimizer_or_data_set_is_refused),
    TEST(test_a_full_disk_fails_on_all_ranks_and_loses_nothing),
    TEST(test_a_second_model_of_a_process_goes_on_but_never_saves),
    TEST(test_a_run_without_a_save_is_not_resumed_as_the_one_before),
    TEST(test_a_run_that_is_taken_over_goes_on),
    TEST(test_the_directory_of_an_older_version_is_resumed),
    TEST(test_a_directory_that_is_none_is_told_before_the_first_step),
    TEST(test_parameters_alone_are_read_without_the_loss),
    TEST(test_what_is_not_finite_or_torn_is_never_saved),
    TEST(test_ranks_that_drift_apart_are_named_and_not_saved),
    TEST(test_parameters_load_from_a_checkpoint_as_from_any_file),
    TEST(test_calls_with_wrong_arguments_are_refused),
};

TEST_MPI_MAIN(tests)
