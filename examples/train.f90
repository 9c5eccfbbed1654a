! Training from Fortran:  mpirun -n 2 ./train_f90
!
! The module has what this program needs of libtrain's C interface: types with
! the members of include/train/*.h in their order, and calls under their C
! names. More calls are bound in the same way.
module libtrain
  use, intrinsic :: iso_c_binding
  implicit none

  integer(c_int), parameter :: TR_F64 = 1, TR_MAX_INPUTS = 4

  type, bind(c) :: tr_shape ! (n): one extent; a Fortran x(n, samples)
    integer(c_int) :: ndim = 1
    integer(c_int64_t) :: dims(6) = 0
  end type

  type, bind(c) :: tr_node
    integer(c_int) :: index
  end type

  type, bind(c) :: tr_array_opts
    type(c_ptr) :: x = c_null_ptr, y = c_null_ptr
    integer(c_int64_t) :: num_samples = 0, num_classes = 0
    type(tr_shape) :: shape
    type(c_ptr) :: targets = c_null_ptr
    type(tr_shape) :: target_shape
    integer(c_int) :: distributed = 0, dtype = 0, single = 0
  end type

  type, bind(c) :: tr_loader_opts
    integer(c_int64_t) :: batch = 0
    integer(c_int) :: shuffle = 0, threads = 0, depth = 0
  end type

  type, bind(c) :: tr_batch
    integer(c_int64_t) :: count, first, global_count
    type(c_ptr) :: inputs(TR_MAX_INPUTS), targets(TR_MAX_INPUTS), weights
    integer(c_int64_t) :: target_values(TR_MAX_INPUTS)
    integer(c_size_t) :: input_bytes(TR_MAX_INPUTS)
    integer(c_size_t) :: target_bytes(TR_MAX_INPUTS)
  end type

  type, bind(c) :: tr_linear_opts
    integer(c_int64_t) :: out = 0
    integer(c_int) :: no_bias = 0
    type(c_ptr) :: name = c_null_ptr
  end type

  type, bind(c) :: tr_schedule
    integer(c_int) :: kind = 0
    integer(c_int64_t) :: warmup = 0, total = 0, every = 0
    real(c_double) :: gamma = 0, start = 0, end = 0, power = 0, rise = 0
    integer(c_int64_t) :: milestones(16) = 0, patience = 0, cooldown = 0
    real(c_double) :: threshold = 0
    integer(c_int) :: maximise = 0
    type(c_funptr) :: rate = c_null_funptr
    type(c_ptr) :: user = c_null_ptr
  end type

  type, bind(c) :: tr_update_opts
    real(c_double) :: clip_norm = 0
    integer(c_int) :: on_nonfinite = 0
    type(c_ptr) :: groups = c_null_ptr
    integer(c_int) :: num_groups = 0, shard_state = 0
  end type

  type, bind(c) :: tr_adam_opts
    real(c_double) :: lr, beta1, beta2, eps, weight_decay
    type(tr_schedule) :: schedule
    type(tr_update_opts) :: update
  end type

  interface
    integer(c_int) function tr_context_create_f(comm, opts, ctx) bind(c)
      import
      integer(c_int), value :: comm ! a Fortran communicator, as it is
      type(c_ptr), value :: opts
      type(c_ptr), intent(out) :: ctx
    end function
    integer(c_int) function tr_context_rank(ctx) bind(c)
      import
      type(c_ptr), value :: ctx
    end function
    subroutine tr_error_exit(status, file, line) bind(c)
      import
      integer(c_int), value :: status, line
      character(kind=c_char), intent(in) :: file(*)
    end subroutine
    integer(c_int) function tr_array_open(ctx, opts, data) bind(c)
      import
      type(c_ptr), value :: ctx
      type(tr_array_opts), intent(in) :: opts
      type(c_ptr), intent(out) :: data
    end function
    integer(c_int) function tr_loader_create(ctx, data, opts, loader) bind(c)
      import
      type(c_ptr), value :: ctx, data
      type(tr_loader_opts), intent(in) :: opts
      type(c_ptr), intent(out) :: loader
    end function
    integer(c_int) function tr_loader_next(loader, batch) bind(c)
      import
      type(c_ptr), value :: loader
      type(tr_batch), intent(out) :: batch
    end function
    integer(c_int) function tr_loader_status(loader) bind(c)
      import
      type(c_ptr), value :: loader
    end function
    integer(c_int64_t) function tr_loader_epoch(loader) bind(c)
      import
      type(c_ptr), value :: loader
    end function
    integer(c_int) function tr_model_create(ctx, net) bind(c)
      import
      type(c_ptr), value :: ctx
      type(c_ptr), intent(out) :: net
    end function
    type(tr_node) function tr_input(net, shape) bind(c)
      import
      type(c_ptr), value :: net
      type(tr_shape), value :: shape
    end function
    type(tr_node) function tr_linear(net, x, opts) bind(c)
      import
      type(c_ptr), value :: net
      type(tr_node), value :: x
      type(tr_linear_opts), intent(in) :: opts
    end function
    type(tr_node) function tr_tanh(net, x) bind(c)
      import
      type(c_ptr), value :: net
      type(tr_node), value :: x
    end function
    type(tr_node) function tr_mse(net, x, opts) bind(c)
      import
      type(c_ptr), value :: net, opts
      type(tr_node), value :: x
    end function
    integer(c_int) function tr_model_build(net, opts) bind(c)
      import
      type(c_ptr), value :: net, opts
    end function
    type(tr_adam_opts) function tr_adam_defaults() bind(c)
      import
    end function
    integer(c_int) function tr_adam_create(net, opts, opt) bind(c)
      import
      type(c_ptr), value :: net
      type(tr_adam_opts), intent(in) :: opts
      type(c_ptr), intent(out) :: opt
    end function
    integer(c_int) function tr_model_forward(net, batch) bind(c)
      import
      type(c_ptr), value :: net
      type(tr_batch), intent(in) :: batch
    end function
    integer(c_int) function tr_model_backward(net) bind(c)
      import
      type(c_ptr), value :: net
    end function
    integer(c_int) function tr_model_allreduce_grads(net) bind(c)
      import
      type(c_ptr), value :: net
    end function
    integer(c_int) function tr_model_loss(net, loss) bind(c)
      import
      type(c_ptr), value :: net
      real(c_double), intent(out) :: loss
    end function
    integer(c_int) function tr_optimizer_step(opt) bind(c)
      import
      type(c_ptr), value :: opt
    end function
    subroutine tr_optimizer_destroy(opt) bind(c)
      import
      type(c_ptr), intent(inout) :: opt
    end subroutine
    subroutine tr_model_destroy(net) bind(c)
      import
      type(c_ptr), intent(inout) :: net
    end subroutine
    subroutine tr_loader_destroy(loader) bind(c)
      import
      type(c_ptr), intent(inout) :: loader
    end subroutine
    subroutine tr_dataset_destroy(data) bind(c)
      import
      type(c_ptr), intent(inout) :: data
    end subroutine
    subroutine tr_context_destroy(ctx) bind(c)
      import
      type(c_ptr), intent(inout) :: ctx
    end subroutine
  end interface

contains

  ! What TR_MUST does in C: on failure, end all ranks with its message.
  subroutine must(status)
    integer(c_int), intent(in) :: status
    if (status /= 0) call tr_error_exit(status, "Fortran"//c_null_char, 0)
  end subroutine
end module

program train
  use mpi
  use libtrain
  implicit none
  integer, parameter :: POINTS = 500, EPOCHS = 60
  real(c_double), target :: x(2, POINTS), y(1, POINTS) ! C's (POINTS, 2)
  real(c_double) :: loss
  type(c_ptr) :: ctx, data, loader, net, opt
  type(tr_array_opts) :: arrays
  type(tr_loader_opts) :: dealing
  type(tr_linear_opts) :: hidden, last
  type(tr_adam_opts) :: adam
  type(tr_batch) :: batch
  type(tr_node) :: node
  integer :: level, error

  call MPI_Init_thread(MPI_THREAD_SERIALIZED, level, error)
  call must(tr_context_create_f(MPI_COMM_WORLD, c_null_ptr, ctx))

  ! Each rank has points of its own, as the ranks of a solver do.
  call make_points(tr_context_rank(ctx))
  arrays%x = c_loc(x)
  arrays%targets = c_loc(y)
  arrays%num_samples = POINTS
  arrays%shape%dims(1) = 2
  arrays%target_shape%dims(1) = 1
  arrays%dtype = TR_F64
  arrays%distributed = 1
  call must(tr_array_open(ctx, arrays, data))
  dealing%batch = 50
  dealing%shuffle = 1
  call must(tr_loader_create(ctx, data, dealing, loader))

  call must(tr_model_create(ctx, net))
  hidden%out = 32
  last%out = 1
  node = tr_input(net, arrays%shape)
  node = tr_tanh(net, tr_linear(net, node, hidden))
  node = tr_mse(net, tr_linear(net, node, last), c_null_ptr)
  call must(tr_model_build(net, c_null_ptr))
  adam = tr_adam_defaults()
  adam%lr = 1d-2
  call must(tr_adam_create(net, adam, opt))

  do while (tr_loader_epoch(loader) < EPOCHS)
    do while (tr_loader_next(loader, batch) /= 0)
      call must(tr_model_forward(net, batch))
      call must(tr_model_backward(net))
      call must(tr_model_allreduce_grads(net))
      call must(tr_model_loss(net, loss))
      call must(tr_optimizer_step(opt))
    end do
    call must(tr_loader_status(loader))
  end do
  if (tr_context_rank(ctx) == 0) print '(a, f9.6)', "loss", loss

  call tr_optimizer_destroy(opt)
  call tr_model_destroy(net)
  call tr_loader_destroy(loader)
  call tr_dataset_destroy(data)
  call tr_context_destroy(ctx)
  call MPI_Finalize(error)

contains

  subroutine make_points(rank)
    integer, intent(in) :: rank
    integer :: i
    do i = 1, POINTS
      x(1, i) = 2 * mod(0.7548776662466927d0 * (i + POINTS * rank), 1d0) - 1
      x(2, i) = 2 * mod(0.5698402909980532d0 * (i + POINTS * rank), 1d0) - 1
      y(1, i) = sin(3 * x(1, i)) * cos(2 * x(2, i))
    end do
  end subroutine
end program
