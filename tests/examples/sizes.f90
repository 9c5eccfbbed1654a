! As sizes.c, of the types that examples/train.f90 declares.
program sizes
  use libtrain
  implicit none
  type(tr_shape) :: shape
  type(tr_node) :: node
  type(tr_array_opts) :: array
  type(tr_loader_opts) :: loader
  type(tr_batch) :: batch
  type(tr_linear_opts) :: linear
  type(tr_schedule) :: schedule
  type(tr_update_opts) :: update
  type(tr_adam_opts) :: adam

  call show("tr_shape", c_sizeof(shape))
  call show("tr_node", c_sizeof(node))
  call show("tr_array_opts", c_sizeof(array))
  call show("tr_loader_opts", c_sizeof(loader))
  call show("tr_batch", c_sizeof(batch))
  call show("tr_linear_opts", c_sizeof(linear))
  call show("tr_schedule", c_sizeof(schedule))
  call show("tr_update_opts", c_sizeof(update))
  call show("tr_adam_opts", c_sizeof(adam))

contains

  subroutine show(name, bytes)
    character(*), intent(in) :: name
    integer(c_size_t), intent(in) :: bytes
    print '(a, 1x, i0)', name, bytes
  end subroutine
end program
