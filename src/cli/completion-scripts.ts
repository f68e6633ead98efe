export type Shell = "bash" | "zsh" | "fish";
export const SHELLS: readonly Shell[] = ["bash", "zsh", "fish"];

/**
 * The scripts only carry words to `apollo __complete` and its answer back: what can be completed is known in one place.
 * Errors are silent, as a prompt is no place for them.
 */
export const COMPLETION_SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `# Apollo completion for bash. Load it with: source <(apollo completion bash)
_apollo() {
  local answer line
  COMPREPLY=()
  answer=$("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
  if [[ $answer == ":files" ]]; then
    compopt -o default 2>/dev/null
    return 0
  fi
  while IFS= read -r line; do
    [[ -n $line ]] && COMPREPLY+=("\${line%%$'\\t'*}")
  done <<< "$answer"
}
complete -F _apollo apollo
`,
  zsh: `#compdef apollo
# Apollo completion for zsh. Load it with: source <(apollo completion zsh)
_apollo() {
  local answer line value
  local -a items
  answer=$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null) || return 1
  if [[ $answer == ":files" ]]; then
    _files
    return
  fi
  for line in "\${(@f)answer}"; do
    [[ -z $line ]] && continue
    value=\${line%%$'\\t'*}
    items+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe -t values apollo items
}
compdef _apollo apollo
`,
  fish: `# Apollo completion for fish. Load it with: apollo completion fish | source
function __apollo_complete
    set -l words (commandline -opc)
    set -l answer ($words[1] __complete -- $words[2..-1] (commandline -ct) 2>/dev/null)
    if test "$answer" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $answer
    end
end
complete -c apollo -f -a '(__apollo_complete)'
`,
};
