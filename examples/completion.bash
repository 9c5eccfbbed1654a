# Completion in bash: options, and the words that they may have. What --help
# says is compared with it by tests/examples/test_command_line.py.

_libtrain_options()
{
  local common='--batch --epochs --steps --optimizer --lr --schedule --warmup
    --weight-decay --clip-norm --zero1 --wire --conv --device --threads --seed
    --no-shuffle --init --checkpoint --no-checkpoint --save-every
    --on-save-error --on-nonfinite --resume --take-over --allow-changes --log
    --stall-timeout --trace --virtual-shards --print-plan --version --help'
  case $1 in
    train_classifier) echo "$common --model --data --dtype" ;;
    train_gpt)
      echo "$common --data --dtype --generate --prompt --length --temperature"
      ;;
    *) echo "$common" ;;
  esac
}

_libtrain_words()
{
  case $1 in
    --model) echo 'mlp convnet resnet18 resnet50' ;;
    --optimizer) echo 'sgd momentum adam adamw muon' ;;
    --schedule) echo 'constant cosine step' ;;
    --wire) echo 'full bf16' ;;
    --dtype) echo 'f32 f64 bf16 f16' ;;
    --conv) echo 'auto exact' ;;
    --device) echo 'cpu reference strict' ;;
    --on-save-error) echo 'warn stop' ;;
    --on-nonfinite) echo 'ignore skip stop rollback' ;;
  esac
}

# Bash takes "--lr=0.1" for three words.
_libtrain()
{
  local word=$2 before=$3 words
  if [ "$word" = = ]; then
    word=
  elif [ "$before" = = ] && [ "$COMP_CWORD" -ge 2 ]; then
    before=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  case $before in
    --data | --init | --checkpoint | --log | --trace)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
  esac
  words=$(_libtrain_words "$before")
  if [ -z "$words" ] && [[ $word == -* || -z $word ]]; then
    words=$(_libtrain_options "${1##*/}")
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _libtrain train_classifier train_gpt train_surrogate
