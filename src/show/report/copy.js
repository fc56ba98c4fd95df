for (const button of document.querySelectorAll('[data-copy]')) {
  const words = button.textContent, quote = document.getElementById(button.dataset.copy);
  const by_selection = () => {
    getSelection().selectAllChildren(quote);
    if (!document.execCommand('copy')) throw 0;
  };
  button.hidden = false;
  button.setAttribute('aria-live', 'polite');
  button.onclick = async () => {
    let said = 'Copied';
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(quote.innerText).catch(by_selection);
      else by_selection();
    } catch { said = 'Selected: copy it with your keyboard'; }
    button.textContent = said;
    setTimeout(() => { button.textContent = words; }, 2000);
  };
}
